"""Pictures with what is known or predicted of them drawn on."""
