"""What kubeadm, kubelet and kube-proxy are told, as text, from one typed model. Touches nothing."""

FOLDER = "/etc/kubernetes/aiprov"
"""Where a node keeps what aiprov tells it: its part in the cluster, recipes and add-ons."""
