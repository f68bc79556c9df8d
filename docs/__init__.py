"""The documentation: pages in Markdown, and in `site/` what builds them."""
