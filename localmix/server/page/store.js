"use strict";
// Conversations in the browser alone: one record each, in IndexedDB. A conversation is a tree of messages: editing or
// asking again adds a branch, and `leaf` says which one is shown.

const store = (() => {
  let opened;
  function open() {
    opened ??= new Promise((done, failed) => {
      const asked = indexedDB.open("localmix", 1);
      asked.onupgradeneeded = () => asked.result.createObjectStore("talks", { keyPath: "id" });
      asked.onsuccess = () => done(asked.result);
      asked.onerror = () => failed(asked.error);
    });
    return opened;
  }
  async function run(mode, act) {
    const table = (await open()).transaction("talks", mode).objectStore("talks");
    return new Promise((done, failed) => {
      const asked = act(table);
      asked.onsuccess = () => done(asked.result);
      asked.onerror = () => failed(asked.error);
    });
  }
  return {
    all: () => run("readonly", (table) => table.getAll()),
    put: (talk) => run("readwrite", (table) => table.put(talk)),
    remove: (id) => run("readwrite", (table) => table.delete(id)),
  };
})();

/** Random, also where the page is not from this machine: there browsers have no randomUUID. */
const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
const newTalk = () => ({ id: newId(), title: "", changed: Date.now(), nodes: {}, leaf: null });

/** The messages from the first to the one that is shown last. */
function path(talk) {
  const found = [];
  for (let node = talk.nodes[talk.leaf]; node; node = talk.nodes[node.parent]) found.unshift(node);
  return found;
}

/** The branches beside a message, itself included. */
function siblings(talk, node) {
  return Object.values(talk.nodes).filter((one) => one.parent === node.parent).sort((a, b) => a.made - b.made);
}

/** Show another branch, down to its newest end. */
function descend(talk, node) {
  for (;;) {
    const next = Object.values(talk.nodes).filter((one) => one.parent === node.id).sort((a, b) => b.made - a.made)[0];
    if (!next) return node.id;
    node = next;
  }
}
