"""The SDK: talks to a server over HTTP, imports no server code."""
