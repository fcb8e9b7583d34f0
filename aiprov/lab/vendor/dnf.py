"""dnf's repositories: rpms made by rpmbuild, signed, indexed, with module streams where EL has them."""
