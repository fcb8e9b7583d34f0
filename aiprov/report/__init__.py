"""What people and machines read: text, JSON, JUnit and HTML. The only place that words a result."""
