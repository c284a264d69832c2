"""Who may do what: the white paper's Appendix C, D and E as data, and the answers they give."""
