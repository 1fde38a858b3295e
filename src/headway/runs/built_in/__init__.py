"""Built-in tasks and the workers inside the server that execute them and the tasks of features."""
