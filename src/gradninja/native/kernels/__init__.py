"""Matrix products and elementary functions for compiled code: nobody else knows what is inside."""
