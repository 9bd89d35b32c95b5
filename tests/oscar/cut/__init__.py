"""What a team writes to carry contexts out of oscar: settings, an address and a playbook; see `make demo-oscar`."""
