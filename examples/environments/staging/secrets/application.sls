# For servers that run the project. Encrypt the values, see docs/operations.md.
django:
  projects:
    shop:
      secrets:
        SECRET_KEY: staging-change-this-key-of-fifty-letters-or-more
        PAYMENT_TOKEN: staging-change-this-token
      superuser: {password: staging-change-this-password-0}
