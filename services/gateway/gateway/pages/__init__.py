"""The pages for browsers: what the API returns, as HTML. Each page works without JavaScript, except for live parts."""
