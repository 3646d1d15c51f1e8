# For servers that run the project, or serve its static files: what its settings read. Encrypt the
# values, see docs/operations.md.
django:
  projects:
    shop:
      secrets:
        SECRET_KEY: staging-change-this-key-of-fifty-letters-or-more
        PAYMENT_TOKEN: staging-change-this-token
