# For servers that use the database, and its own.
django:
  projects:
    shop:
      database: {password: staging-change-this-password-1}
