"""The backends behind `gateway.operate`."""
