"""The work of each verb, above the packages that it uses: one module each, and what several of them share."""
