"""Tests of scans, stores, clusters and sites."""
