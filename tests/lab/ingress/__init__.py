"""The home's ingress: what Traefik is in the reference network, as small as can be."""
