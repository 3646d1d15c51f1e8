# For servers that use the database, and its own.
django:
  projects:
    shop:
      database: {password: production-change-this-password-1}
