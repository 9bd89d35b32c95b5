"""Facts about each context: phase, journal, evidence. No behaviour; read by the engines, written by the phases."""
