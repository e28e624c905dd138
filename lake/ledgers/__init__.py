"""Ledgers: what ran, what it found, and the lake's status derived from that."""
