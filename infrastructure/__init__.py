"""What is deployed: the resources beside Chalice's own, and how both become one package."""
