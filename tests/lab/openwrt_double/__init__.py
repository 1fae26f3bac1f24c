"""A router with OpenWrt: its commands, strict per the facts file of the project. See README.md of this package."""
