// Blanks out comments, strings and regular expressions, so that a rule about code cannot be fooled by words in a text.

const WORD_BEFORE_REGEX = /(?:^|[^\w$.])(?:return|typeof|case|in|of|do|else|void|delete|throw|new|yield|await)$/;
const PUNCTUATION_BEFORE_REGEX = "(,=:[!&|?{;+-*%~^<>";

/**
 * Returns the source with the same length and lines, in which comments and the insides of strings, templates and
 * regular expressions are spaces. Quotes stay, and so does the code inside `${…}`.
 */
export function maskSource(text: string): string {
  const out: string[] = [];
  scanCode(text, 0, out, false);
  return out.join("");
}

/** The line of an offset, counted from 1. */
export function lineOf(text: string, offset: number): number {
  let line = 1;
  for (let i = text.indexOf("\n"); i !== -1 && i < offset; i = text.indexOf("\n", i + 1)) line++;
  return line;
}

/** The offset of the bracket that closes the one at `open`, or the end of the text. Expects a masked source. */
export function closingBracket(masked: string, open: number): number {
  let depth = 0;
  for (let i = open; i < masked.length; i++) {
    if ("([{".includes(masked[i])) depth++;
    else if (")]}".includes(masked[i]) && --depth === 0) return i;
  }
  return masked.length;
}

function blank(text: string, from: number, to: number, out: string[]): number {
  out.push(text.slice(from, to).replace(/[^\n]/g, " "));
  return to;
}

// Copies code from `i` on and masks what is not code; stops behind the brace that closes a template's `${`.
function scanCode(text: string, start: number, out: string[], inTemplate: boolean): number {
  let i = start;
  let depth = 0;
  while (i < text.length) {
    const char = text[i];
    if (text.startsWith("//", i)) i = blank(text, i, endOf(text, "\n", i), out);
    else if (text.startsWith("/*", i)) i = blank(text, i, Math.min(text.length, endOf(text, "*/", i + 2) + 2), out);
    else if (char === '"' || char === "'") i = scanString(text, i, char, out);
    else if (char === "`") i = scanTemplate(text, i, out);
    else if (char === "/" && startsRegex(out)) i = scanRegex(text, i, out);
    else {
      out.push(char);
      i++;
      if (char === "{") depth++;
      if (char === "}" && --depth < 0 && inTemplate) return i;
    }
  }
  return i;
}

function scanString(text: string, start: number, quote: string, out: string[]): number {
  let i = start + 1;
  while (i < text.length && text[i] !== quote && text[i] !== "\n") i += text[i] === "\\" ? 2 : 1;
  out.push(quote);
  blank(text, start + 1, Math.min(i, text.length), out);
  if (i < text.length) out.push(text[i]);
  return i + 1;
}

function scanTemplate(text: string, start: number, out: string[]): number {
  out.push("`");
  let i = start + 1;
  while (i < text.length && text[i] !== "`") {
    if (text.startsWith("${", i)) {
      out.push("${");
      i = scanCode(text, i + 2, out, true);
    } else i = blank(text, i, Math.min(text.length, i + (text[i] === "\\" ? 2 : 1)), out);
  }
  if (i < text.length) out.push("`");
  return i + 1;
}

function scanRegex(text: string, start: number, out: string[]): number {
  let inClass = false;
  let i = start + 1;
  while (i < text.length && text[i] !== "\n" && (inClass || text[i] !== "/")) {
    if (text[i] === "[") inClass = true;
    if (text[i] === "]") inClass = false;
    i += text[i] === "\\" ? 2 : 1;
  }
  out.push("/");
  blank(text, start + 1, Math.min(i, text.length), out);
  if (i < text.length) out.push(text[i]);
  return i + 1;
}

// A slash starts a regular expression where an operand is expected; behind an operand it divides.
function startsRegex(out: readonly string[]): boolean {
  const before = out.slice(-40).join("").trimEnd();
  if (before === "") return true;
  return PUNCTUATION_BEFORE_REGEX.includes(before.at(-1) ?? "") || WORD_BEFORE_REGEX.test(before);
}

function endOf(text: string, mark: string, from: number): number {
  const at = text.indexOf(mark, from);
  return at === -1 ? text.length : at;
}
