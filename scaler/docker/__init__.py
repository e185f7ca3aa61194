"""Scales services of one Docker host as the HPA scales Deployments: Swarm services, and those of Compose.

Modules here import PyPI's `docker` by its absolute name; this package is `scaler.docker`.
"""
