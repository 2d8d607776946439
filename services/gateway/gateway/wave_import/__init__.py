"""Import the records of Seqera Wave from a dump of its PostgreSQL database: `python -m gateway.wave_import`."""
