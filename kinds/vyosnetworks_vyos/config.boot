{{- if .StartupText -}}
{{ .StartupText }}
{{- else -}}
interfaces {
    ethernet eth0 {
        description "lab management"
    }
    loopback lo {
    }
}
{{- if .CertPEM }}
pki {
    ca clab {
        certificate "{{ .CABody }}"
    }
    certificate self {
        certificate "{{ .CertBody }}"
        private {
            key "{{ .KeyBody }}"
        }
    }
}
{{- end }}
service {
    https {
        api {
            keys {
                id {{ .Username }} {
                    key "{{ .Password }}"
                }
            }
        }
{{- if .CertPEM }}
        certificates {
            ca-certificate "clab"
            certificate "self"
        }
{{- end }}
        listen-address "0.0.0.0"
    }
    ntp {
        allow-client {
            address "127.0.0.0/8"
            address "10.0.0.0/8"
            address "172.16.0.0/12"
            address "192.168.0.0/16"
            address "::1/128"
            address "fe80::/10"
            address "fc00::/7"
        }
        server time1.vyos.net {
        }
    }
    ssh {
        listen-address "0.0.0.0"
    }
}
system {
    config-management {
        commit-revisions "100"
    }
    console {
        device ttyS0 {
            speed "115200"
        }
    }
    host-name {{ .Node }}
    login {
        user {{ .Username }} {
            authentication {
                plaintext-password "{{ .Password }}"
            }
        }
    }
    syslog {
        global {
            facility all {
                level "info"
            }
        }
    }
}
{{- end }}
