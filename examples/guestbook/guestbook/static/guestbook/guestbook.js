// Shows how many characters are left. The page works the same without it.
for (const field of document.querySelectorAll("[data-counter]")) {
  const output = document.getElementById(field.dataset.counter);
  const update = () => {
    output.textContent = `${field.maxLength - field.value.length} characters left`;
  };
  field.addEventListener("input", update);
  update();
}
