// What scrolls sideways can be reached by the keyboard. The theme sees to tables and code, not to these.
(() => {
  const boxes = () => document.querySelectorAll(".bd-article :is(figure, .cell_output, mjx-container, div.math)");
  const mark = () => boxes().forEach((box) => {
    if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  });
  addEventListener("load", mark);
  addEventListener("resize", mark);
})();

// Paper is white: the dark scheme is put away while a page is printed, and comes back afterwards.
(() => {
  const root = document.documentElement;
  let before = null;
  const print = (starts) => {
    if (starts === (before !== null)) return;
    [before, root.dataset.theme] = starts ? [root.dataset.theme, "light"] : [null, before];
  };
  addEventListener("beforeprint", () => print(true));
  addEventListener("afterprint", () => print(false));
  matchMedia("print").addEventListener("change", (event) => print(event.matches));
})();
