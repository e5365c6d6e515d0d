"""Measured speed. Threads wait for each other as they do in the app."""

from steering.threads import settle

settle()
