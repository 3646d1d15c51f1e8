# For servers that use the cache and the queue, and their own.
django:
  projects:
    shop:
      cache: {password: staging-change-this-password-2}
      broker: {password: staging-change-this-password-3}
