// What scrolls sideways can be reached by the keyboard. The theme does so for tables and code, not for these.
(() => {
  const boxes = () => document.querySelectorAll(".bd-article :is(figure, .cell_output, mjx-container, div.math)");
  const mark = () => boxes().forEach((box) => {
    if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  });
  addEventListener("load", mark);
  addEventListener("resize", mark);
})();
