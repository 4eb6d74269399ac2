// Prevents what the linter does not know: predictable randomness, runtime globals outside of their folder, files and
// functions that grew too long, error messages that read differently from the others, paths of one machine.

import { type Files, type Finding, readFiles, report } from "./lib/project.ts";
import { closingBracket, lineOf, maskSource } from "./lib/source.ts";

const MAX_FILE_LINES = 400;
const MAX_FUNCTION_LINES = 60;

/** A rule about TypeScript sources. */
interface Rule {
  readonly applies: (path: string) => boolean;
  readonly find: (text: string, masked: string) => readonly Hit[];
}

interface Hit {
  readonly offset: number;
  readonly message: string;
}

const inSource = (path: string): boolean => path === "mod.ts" || path.startsWith("src/");
const inRuntime = (path: string): boolean => /^src\/(?:runtime|cli)\//.test(path);
const inTests = (path: string): boolean => path.startsWith("tests/");

const RULES: readonly Rule[] = [
  {
    applies: () => true,
    find: (_, masked) =>
      hits(
        masked,
        /(?<=(?:[:<,|&=]|=>)\s*|\b(?:as|extends|satisfies|keyof)\s+)any\b(?!\s*[:(.?])/g,
        'uses the type "any"; write "unknown" and narrow it',
      ),
  },
  {
    applies: () => true,
    find: (_, masked) =>
      hits(masked, /\bMath\s*\??\.\s*random\b/g, "uses Math.random; take a source of chance as a parameter"),
  },
  {
    applies: (path) => inSource(path) && !inRuntime(path),
    find: (_, masked) =>
      hits(
        masked,
        /(?<![\w$])(?:Deno|Bun)\b|(?<![\w$.])process\s*\??\.|\bglobalThis\s*\.\s*process\b/g,
        "uses a runtime's global outside of src/runtime and src/cli",
      ),
  },
  { applies: () => true, find: longFile },
  { applies: (path) => !inTests(path), find: (_, masked) => longFunctions(masked) },
  { applies: (path) => !inTests(path), find: errorMessages },
];

/** Checks sources and documents, given by path from the root. */
export function checkHouse(files: Files): Finding[] {
  return [...files].flatMap(([path, text]) => {
    const rules = path.endsWith(".ts") ? RULES.filter((rule) => rule.applies(path)) : [];
    const masked = rules.length > 0 ? maskSource(text) : "";
    return [...anyText(text), ...rules.flatMap((rule) => rule.find(text, masked))]
      .map(({ offset, message }) => ({ path, line: lineOf(text, offset), message }));
  });
}

function anyText(text: string): Hit[] {
  return [
    ...hits(text, /\b(?:TO)DO\b|\bFIX(?:ME)\b/g, "holds a reminder; do it, or write it down as an issue"),
    ...hits(
      text,
      /(?<=^|[\s"'`(=<>:])(?:\/(?:home|Users|root|work|workspace|mnt)|[A-Z]:\\Users)[\/\\][\w.]/gm,
      "names a path of one machine",
    ),
  ];
}

function hits(text: string, pattern: RegExp, message: string): Hit[] {
  return [...text.matchAll(pattern)].map((match) => ({ offset: match.index, message }));
}

function longFile(text: string): Hit[] {
  const lines = text.trimEnd().split("\n").length;
  return lines > MAX_FILE_LINES ? [{ offset: 0, message: `has ${lines} lines, ${MAX_FILE_LINES} are allowed` }] : [];
}

// A brace opens a function where an arrow, or a parameter list that no statement keyword begins, stands before it.
function longFunctions(masked: string): Hit[] {
  return [...masked.matchAll(/\{/g)].flatMap(({ index }) => {
    if (!opensFunction(masked.slice(0, index).trimEnd())) return [];
    const lines = lineOf(masked, closingBracket(masked, index)) - lineOf(masked, index) + 1;
    const message = `has a function of ${lines} lines, ${MAX_FUNCTION_LINES} are allowed`;
    return lines > MAX_FUNCTION_LINES ? [{ offset: index, message }] : [];
  });
}

function opensFunction(before: string): boolean {
  if (before.endsWith("=>")) return true;
  const signature = before.replace(/\)\s*:[^(){};=]*$/, ")");
  if (!signature.endsWith(")")) return false;
  const word = /(\w*)\s*$/.exec(signature.slice(0, openingParenthesis(signature)))?.[1] ?? "";
  return !["if", "for", "while", "switch", "catch", "with", "await"].includes(word);
}

function openingParenthesis(text: string): number {
  let depth = 0;
  for (let i = text.length - 1; i >= 0; i--) {
    if (text[i] === ")") depth++;
    else if (text[i] === "(" && --depth === 0) return i;
  }
  return 0;
}

// A literal without a space is a code and not a sentence.
function errorMessages(text: string, masked: string): Hit[] {
  const found: Hit[] = [];
  for (const match of masked.matchAll(/\bnew\s+\w*Error\s*\(/g)) {
    const open = match.index + match[0].length - 1;
    for (const [start, end] of literalsIn(masked, open, closingBracket(masked, open))) {
      const sentence = text.slice(start + 1, end);
      if (!sentence.includes(" ")) continue;
      const begins = /[(,]\s*$/.test(masked.slice(open, start));
      if (begins && /^[a-z]/.test(sentence)) {
        found.push({ offset: start, message: "has an error message that does not start with a capital" });
      }
      if (/^\s*[,)]/.test(masked.slice(end + 1)) && /[^.]\.$/.test(sentence)) {
        found.push({ offset: start, message: "has an error message that ends with a period" });
      }
    }
  }
  return found;
}

// The string and template literals directly between two brackets, as offsets of their quotes.
function literalsIn(masked: string, open: number, close: number): [number, number][] {
  const literals: [number, number][] = [];
  for (let i = open + 1; i < close; i++) {
    if ("([{".includes(masked[i])) i = closingBracket(masked, i);
    else if ("\"'`".includes(masked[i])) {
      const end = literalEnd(masked, i);
      literals.push([i, end]);
      i = end;
    }
  }
  return literals;
}

function literalEnd(masked: string, start: number): number {
  for (let i = start + 1; i < masked.length; i++) {
    if (masked[i] === masked[start]) return i;
    if (masked.startsWith("${", i)) i = closingBracket(masked, i + 1);
  }
  return masked.length;
}

if (import.meta.main) {
  const files = await readFiles(["."]);
  report(checkHouse(new Map([...files].filter(([path]) => path !== "deno.lock"))));
}
