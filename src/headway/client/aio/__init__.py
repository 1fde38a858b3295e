"""The async client, written by hand; `headway.client.sync` is generated from it by tools/unasync.py."""
