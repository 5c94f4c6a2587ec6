"use strict";
const box = document.getElementById("lightbox");
for (const button of document.querySelectorAll("button.enlarge")) {
  button.addEventListener("click", () => {
    const image = button.querySelector("img");
    const enlarged = box.querySelector("img");
    enlarged.src = image.src;
    enlarged.alt = image.alt;
    box.querySelector("p").textContent = button.getAttribute("aria-label").replace("Enlarge: ", "");
    box.showModal();
  });
}
box.addEventListener("click", (event) => {
  if (event.target === box) box.close();
});
addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details")) part.open = true;
});
