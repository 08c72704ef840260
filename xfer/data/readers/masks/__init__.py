"""Pictures with mask files."""
