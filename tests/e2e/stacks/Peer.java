// SPDX-License-Identifier: Apache-2.0

import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import java.util.HashMap;
import java.util.Map;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLServerSocket;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManager;
import javax.net.ssl.X509TrustManager;

// A TLS peer on Java's JSSE; peer.py says what it takes and what it prints. JSSE hides the TCP socket, so that it can neither
// send a bare FIN nor a reset: `end` is `close` or `finish`.
public class Peer {
    // The test's own certificates are not what is tested here.
    private static final TrustManager ANYBODY = new X509TrustManager() {
        public void checkClientTrusted(X509Certificate[] chain, String type) {}
        public void checkServerTrusted(X509Certificate[] chain, String type) {}
        public X509Certificate[] getAcceptedIssuers() { return new X509Certificate[0]; }
    };

    private static SSLContext context(String certificate, String key) throws Exception {
        byte[] pem = Files.readAllBytes(Path.of(certificate));
        Certificate[] chain = CertificateFactory.getInstance("X.509")
            .generateCertificates(new ByteArrayInputStream(pem)).toArray(new Certificate[0]);
        String base64 = Files.readString(Path.of(key)).replaceAll("-----[A-Z ]+-----|\\s", "");
        PKCS8EncodedKeySpec spec = new PKCS8EncodedKeySpec(Base64.getDecoder().decode(base64));
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(null, null);
        store.setKeyEntry("peer", KeyFactory.getInstance("EC").generatePrivate(spec), new char[0], chain);
        KeyManagerFactory keys = KeyManagerFactory.getInstance("SunX509");
        keys.init(store, new char[0]);
        SSLContext made = SSLContext.getInstance("TLSv1.3");
        made.init(keys.getKeyManagers(), new TrustManager[] {ANYBODY}, null);
        return made;
    }

    private static SSLSocket connect(String[] words, Map<String, String> options) throws Exception {
        SSLContext made = context(words[3], words[4]);
        SSLSocket socket;
        if (words[0].equals("client")) {
            socket = (SSLSocket) made.getSocketFactory().createSocket(words[1], Integer.parseInt(words[2]));
        } else {
            SSLServerSocket listener = (SSLServerSocket) made.getServerSocketFactory().createServerSocket(
                Integer.parseInt(words[2]), 1, java.net.InetAddress.getByName(words[1]));
            listener.setNeedClientAuth(true);
            System.out.println("listening " + listener.getLocalPort());
            socket = (SSLSocket) listener.accept();
        }
        if (options.containsKey("alpn")) {
            SSLParameters parameters = socket.getSSLParameters();
            parameters.setApplicationProtocols(options.get("alpn").split(","));
            socket.setSSLParameters(parameters);
        }
        socket.startHandshake();
        String protocol = socket.getApplicationProtocol();
        System.out.println("connected " + (protocol == null || protocol.isEmpty() ? "-" : protocol));
        return socket;
    }

    private static String read(SSLSocket socket, Thread sender, Map<String, String> options) throws InterruptedException {
        long total = 0;
        long take = Long.parseLong(options.getOrDefault("take", "0"));
        try {
            InputStream in = socket.getInputStream();
            byte[] buffer = new byte[65536];
            for (int got; (got = in.read(buffer)) >= 0;) {
                boolean isFirst = total == 0;
                total += got;
                if (isFirst && "finish".equals(options.get("end"))) {
                    socket.shutdownOutput();
                } else if ((isFirst && "close".equals(options.get("end"))) || (take > 0 && total >= take)) {
                    sender.join();
                    socket.close();
                    return total + " bytes, closed";
                }
            }
            return total + " bytes, clean";
        } catch (IOException error) {
            return total + " bytes, error: " + error;
        }
    }

    private static void send(SSLSocket socket, long num) {
        try {
            for (; num > 0; num -= 65536) {
                socket.getOutputStream().write(new byte[(int) Math.min(num, 65536)]);
            }
        } catch (IOException error) {
            System.out.println("not sent: " + error);
        }
    }

    public static void main(String[] words) throws Exception {
        Map<String, String> options = new HashMap<>();
        for (int i = 6; i < words.length; i++) {
            options.put(words[i].split("=", 2)[0], words[i].split("=", 2)[1]);
        }
        SSLSocket socket;
        try {
            socket = connect(words, options);
        } catch (IOException error) {
            System.out.println("0 bytes, error: " + error);
            return;
        }
        long num = Long.parseLong(options.getOrDefault("send", "0"));
        Thread sender = new Thread(() -> send(socket, num));
        sender.setDaemon(true);
        if (num > 0) {
            sender.start();
        } else {
            socket.getOutputStream().write("hello\n".getBytes());
        }
        if (options.containsKey("wait")) {
            System.in.read();
        }
        System.out.println(read(socket, sender, options));
        System.in.read();
    }
}
