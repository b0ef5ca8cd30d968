"""MAML-SR at test time: adaptation under a metric constraint."""
