"""What an operator sees: logs, access lines, health. Injected into the lower layers, which know null objects only."""
