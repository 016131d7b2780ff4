// Elements in, elements out. Whatever people wrote goes through `textContent` only, so it stays text.

export const $ = (id) => document.getElementById(id);

export function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

// Make the children of `list` follow `items`, keeping those that stay, and with them the keyboard's focus.
export function sync(list, items, key, create, update = () => {}) {
  const old = new Map([...list.children].map((child) => [child.dataset.key, child]));
  items.forEach((item, index) => {
    const child = old.get(key(item)) ?? create(item);
    old.delete(key(item));
    child.dataset.key = key(item);
    update(child, item);
    if (list.children[index] !== child) list.insertBefore(child, list.children[index] ?? null);
  });
  old.forEach((child) => child.remove());
}

export function avatar(name) {
  const element = make("span", "avatar", [...name][0].toUpperCase());
  const hue = [...name].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 360, 7);
  element.style.setProperty("--hue", hue);
  element.ariaHidden = "true";
  return element;
}

export function onSubmit(form, action) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    action();
  });
}

// Enter sends, Shift and Enter starts a new line.
export function sendOnEnter(textarea, action) {
  textarea.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    action();
  });
}

// "Ada", "Ada and Grace", "Ada, Grace and 3 others"
export function listed(names) {
  const shown = names.length > 3 ? [...names.slice(0, 2), `${names.length - 2} others`] : names;
  return new Intl.ListFormat("en").format(shown);
}
