# For servers that use the cache and the queue, and their own.
django:
  projects:
    shop:
      cache: {password: production-change-this-password-2}
      broker: {password: production-change-this-password-3}
