# For servers that run the project.
django:
  projects:
    shop:
      superuser: {password: staging-change-this-password-0}
