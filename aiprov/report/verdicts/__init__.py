"""Verdicts as text, Markdown, JUnit and Prometheus metrics. As JSON: ``checks.document``."""
