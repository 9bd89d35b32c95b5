"""First versions of what a cut needs, written from the models: the playbook and the service's skeleton."""
