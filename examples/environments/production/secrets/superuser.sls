# For servers that run the project.
django:
  projects:
    shop:
      superuser: {password: production-change-this-password-0}
