// The theme listens to the first menu button of a page only, which is the one in the header that this
// site does not show. Every other button of the same kind hands its click on to it.
document.addEventListener("DOMContentLoaded", () => {
  for (const kind of ["primary", "secondary"]) {
    const [first, ...others] = document.querySelectorAll(`.${kind}-toggle`);
    for (const button of others) {
      button.setAttribute("aria-haspopup", "dialog");
      button.addEventListener("click", () => first.click());
    }
  }
});
