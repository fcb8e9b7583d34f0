"""Checks: what was measured on GPUs, hosts and links, and what is to be thought of it.

Everything here is pure: what runs on hosts gives numbers and evidence, and these modules judge.
"""
