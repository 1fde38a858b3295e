"""Declaration of tasks: apps, decorators, signatures and options, and loading of an app by its name."""
