"""The routing proxy as an application: control plane, Envoy process, renderers. Never part of the wheel."""
