/** As much of an element as the page uses; the types of server runtimes have none. */
export interface PageElement {
  hidden: boolean;
  className: string;
  textContent: string | null;
  /** What is written in a field. */
  value: string;
  append(child: PageElement): void;
  addEventListener(type: "click" | "submit", listener: (event: Pick<Event, "preventDefault">) => unknown): void;
}

interface PageDocument {
  getElementById(id: string): PageElement;
  createElement(tag: string): PageElement;
}

const { document } = globalThis as unknown as { readonly document: PageDocument };

/** An element of the page. */
export const byId = (id: string): PageElement => document.getElementById(id);

/** A new one. */
export const element = (tag: string): PageElement => document.createElement(tag);
