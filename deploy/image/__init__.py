"""The image of the service: built with its labels, tested in a real container, listed as an SBOM."""
