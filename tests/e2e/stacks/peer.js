// SPDX-License-Identifier: Apache-2.0

// A TLS peer on Node's tls; peer.py says what it takes and what it prints.
'use strict';
const fs = require('fs');
const net = require('net');
const tls = require('tls');

const [role, host, port, certificate, key, roots, ...more] = process.argv.slice(2);
const options = Object.fromEntries(more.map((argument) => argument.split(/=(.*)/s).slice(0, 2)));
let total = 0;
let isOver = false;

function tell(text) {
    if (!isOver) {
        isOver = true;
        console.log(`${total} bytes, ${text}`);
    }
}

// Does what `end` says; returns whether it reads on.
function endByItself(plain, secure) {
    const ways = {
        close: () => secure.destroySoon(),
        finish: () => secure.end(),
        fin: () => plain.end(),
        reset: () => plain.resetAndDestroy(),
    };
    ways[options.end]();
    return options.end === 'finish' || options.end === 'fin';
}

function talk(plain, secure) {
    secure.on('error', (error) => tell(`error: ${error.message.trim() || error.code}`));
    plain.on('error', (error) => tell(`error: ${error.code}`));
    secure.on('end', () => setImmediate(() => tell('clean')));
    const start = () => {
        console.log(`connected ${secure.alpnProtocol || '-'}`);
        secure.write(options.send ? Buffer.alloc(Number(options.send)) : 'hello\n');
        if (options.wait) {
            process.stdin.once('data', () => listen(plain, secure));
        } else {
            listen(plain, secure);
        }
    };
    if (role === 'client') {
        secure.once('secureConnect', start);
    } else {
        start();
    }
}

function listen(plain, secure) {
    secure.on('data', (data) => {
        const isFirst = total === 0;
        total += data.length;
        const isClosed = isFirst && options.end && !endByItself(plain, secure);
        if (isClosed || (options.take && total >= Number(options.take))) {
            tell('closed');
            secure.end(); // after what is still to be said
        }
    });
}

const how = {
    cert: fs.readFileSync(certificate), key: fs.readFileSync(key), ca: fs.readFileSync(roots), minVersion: 'TLSv1.3',
    ALPNProtocols: options.alpn ? options.alpn.split(',') : undefined, allowHalfOpen: true,
    checkServerIdentity: () => undefined, // a SPIFFE id is no host name
};
if (role === 'client') {
    const plain = net.connect({ host, port: Number(port), allowHalfOpen: true },
        () => talk(plain, tls.connect({ ...how, socket: plain })));
} else {
    let plain;
    const server = tls.createServer({ ...how, requestCert: true }, (secure) => talk(plain, secure));
    server.once('connection', (socket) => {
        plain = socket;
        server.close();
    });
    server.on('tlsClientError', (error) => tell(`error: ${error.message.trim()}`));
    server.listen(Number(port), host, () => console.log(`listening ${server.address().port}`));
}
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
