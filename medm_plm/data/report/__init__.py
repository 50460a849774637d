"""The account of a preparation: its entries, and the page that shows them."""
