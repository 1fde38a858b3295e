"""Process of a server: it opens the store, serves surfaces and loops, reloads its settings, and works on a store offline."""
