"""What the user is told of a scan and its result: trust, noise, measurements, pictures, tables."""
